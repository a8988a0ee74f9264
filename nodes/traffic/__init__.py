"""Probe flows: packets with flow, number and send time, on a schedule, logged at both ends."""
