//! tapferry-redirect
