"""Fuzzers: modules run by hand, with a shorter form in the tests."""
