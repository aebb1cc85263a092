//! tapferry-testbed
