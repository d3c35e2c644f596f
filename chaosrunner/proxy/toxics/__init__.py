"""Toxics: what each kind is, whom it strikes, and what it does to bytes and to connections as they are made."""
