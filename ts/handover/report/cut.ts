/** How the cut was found, in words, and what may be wrong with one found in that way. Pure. */

import { inWords } from './axis.ts'
import type { CutMethod, SourceNetdev } from './shape.ts'

interface Way {
  how: string
  /** What may follow from it; undefined: it is exact. */
  doubt?: string
}

const WAYS: Readonly<Record<CutMethod, Way>> = {
  used_ring: { how: "read from the guest's own receive queue" },
  used_index: { how: "told by the index of the guest's receive queue, beside the TAP's packet counter" },
  queue_status: {
    how: "told by the index of the guest's receive queue, as the VM's monitor answered",
    doubt:
      'mostly it is exact, but up to two frames from just before it may be lost and no counter shows them',
  },
  tx_packets: {
    how: "taken from the TAP's packet counter",
    doubt:
      'up to two frames that QEMU had read, and not given to the guest, may be lost and no counter shows them',
  },
  timestamp: {
    how: 'taken from the time of the stop',
    doubt:
      'a few frames from just before the stop (0 to 4, as measured) may be missing that no counter shows',
  },
}

/** undefined: it is exact, or there is none. */
export function cutDoubt({ cut_method: method }: SourceNetdev): string | undefined {
  return method === null ? undefined : WAYS[method].doubt
}

/** What the cut is, how and when it was found, and why by no better way. */
export function cutInWords(source: SourceNetdev): string {
  const { cut_method: method, cut_after_ms: after, cut_reason: reason, stopped_ns: stopped } = source
  if (method === null) {
    if (stopped === null) return 'There is none: the VM did not stop while it was watched.'
    return `It was not found${reason === null ? '' : `: ${reason}`}.`
  }
  const { how, doubt } = WAYS[method]
  const when = after === null ? '' : `, ${inWords(after)} after the stop`
  const exact = doubt === undefined ? 'exact' : `not exact: ${doubt}`
  const why = reason === null ? '' : ` There was no better way, because: ${reason}.`
  return `The first frame that the guest had not got when it stopped was ${how} (${method})${when}; that is ${exact}.${why}`
}
