"""The data sets that hpax builds; imports nothing, so that help is quick."""

DATA_SETS = (
    "simulated_fields",
    "simulated_cells",
    "simulated_yeast",
    "cell_crops",
    "hpa_fields",
    "hpa_cells",
    "dsb2018_nuclei",
)
"""Names of packages of `hpax.data`, each with a Config and a DataSet."""
