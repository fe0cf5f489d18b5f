"""The only queue of a station: every record durable within milliseconds, kept until the database has it."""
