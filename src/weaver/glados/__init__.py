"""GLaDOS, the control plane: owns time and runs. Importing it imports nothing, so that a clock costs no web framework."""
