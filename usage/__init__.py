"""What was used: records, roll-ups, exports."""
