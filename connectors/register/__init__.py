"""Files of charging stations and vehicle models, as registers and catalogues publish them."""
