"""Trainers: they learn classifier and instance factors, and an aggregator, from an EnsembleData."""
