//! tapferry-sys
