"""Load workers on other machines, through Dask: `crew` places them; `remote` and `relay` are the two ends."""
