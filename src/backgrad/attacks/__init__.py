"""Attacks: how poisoning points are chosen."""
