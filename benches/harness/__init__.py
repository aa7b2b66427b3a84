"""What benches/run.py and benches/soak.py measure with."""
