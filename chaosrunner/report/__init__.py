"""A verdict, and the facts behind it, for people and for machines: terminal, HTML, Markdown, JSON, JUnit."""
