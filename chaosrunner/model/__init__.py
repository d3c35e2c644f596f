"""What things are: frozen values and protocols. Imports nothing but the standard library and itself."""
