"""What a batch means: tasks return per-example losses, and only `hpax.train` reduces them."""
