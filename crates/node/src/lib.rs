//! tapferry-node
