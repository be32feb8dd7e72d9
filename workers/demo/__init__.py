"""The demo's morning: asks for the stops, sends the drivers out, shows what happens, and judges it."""

from workers.demo.scenario import run_demo as run_demo
