/** What must add up: every frame from the cut on is in exactly one counter, on either side. Pure. */

import type { DestinationNetdev, SourceNetdev } from './shape.ts'

export interface Balance {
  /** Captured at the source, or received from it. */
  came: number
  accountedFor: number
}

export function sourceBalance(source: SourceNetdev): Balance {
  const { captured, sent, held, hold_full, ring_full, unsendable, reflected, no_peer, discarded } = source
  const dropped = hold_full + ring_full + unsendable + reflected + no_peer + discarded
  return { came: captured, accountedFor: sent + held + dropped }
}

export function destinationBalance(destination: DestinationNetdev): Balance {
  const { received, injected, deduplicated, parked, before_cut, refused, discarded } = destination
  return { came: received, accountedFor: injected + deduplicated + parked + before_cut + refused + discarded }
}
