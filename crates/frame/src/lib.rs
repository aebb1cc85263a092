//! tapferry-frame
