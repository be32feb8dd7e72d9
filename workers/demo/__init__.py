"""The demo's morning: asks for the stops, sends the drivers out, shows what happens, and judges it."""

from workers.demo.scenario import UNDER_CHAOS as UNDER_CHAOS
from workers.demo.scenario import MorningEnd as MorningEnd
from workers.demo.scenario import Patience as Patience
from workers.demo.scenario import run_demo as run_demo
