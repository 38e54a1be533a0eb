"""Access to the spikes of a simulation or recording and, if it is known, to the wiring; all later stages read both from here."""
