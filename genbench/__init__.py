"""genbench: GAN, VAE and Transformer baselines on one declared compute budget.

The flow goes one way: a suite names cells, an engine trains, samples and evaluates each cell,
the outcome is a record, tables are built from records, and the book's chapters read tables.
"""

__version__ = "0.1.0"
