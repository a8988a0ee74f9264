"""Scenarios: bring up, act, measure, verdict, down. Each is a module with its parameters and its play."""
