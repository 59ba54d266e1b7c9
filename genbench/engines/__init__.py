"""Engines take cells to records. `local` runs them one after another in this process."""
