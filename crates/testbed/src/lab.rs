//! All of the testbed behind JSON lines.
