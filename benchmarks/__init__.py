"""How fast Verax is beside other libraries: see RESULTS.md, made by ``make bench``."""
