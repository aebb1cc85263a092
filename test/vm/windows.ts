/** Which frames a gate has to pass: from when each was sent, and when the VM stopped and went on. Pure. */

import type { RunStateChange } from '../support/vm.ts'
import type { Stamp } from './support.ts'

export interface Observation {
  /** When each frame was sent. */
  readonly stamps: readonly Stamp[]
  /** Which of them passed. */
  readonly passed: ReadonlySet<number>
  /** When the VM stopped and went on, in turns, in the order of time; it ran before. */
  readonly changes: readonly RunStateChange[]
  /** When tapferry moved the gate for each of the changes: CLOCK_REALTIME, ns. */
  readonly movedNs: readonly bigint[]
  /** What opens the gate: a running VM or a stopped one. */
  readonly openWhileRunning: boolean
  readonly preRollNs: bigint
  readonly forwardedLate: number
}

/** A time in which the gate had to be open, or closed. */
interface Window {
  readonly open: boolean
  readonly fromNs: bigint
  /** When tapferry knew of it. */
  readonly knownNs: bigint
}

/**
 * What is wrong, in words; nothing, as a rule.
 *
 * A frame is judged by the kernel's time stamp, which lies between the times before and after its sending; one
 * for which these lie in different windows may pass or not. In a closed window frames pass only until tapferry
 * knew of it, and each of those is counted as late. In an open window none is missed, unless it was sent longer
 * than the pre-roll before tapferry knew of it.
 */
export function faults(observed: Observation): string[] {
  const { stamps, passed, changes, movedNs, openWhileRunning, preRollNs, forwardedLate } = observed
  if (changes.length !== movedNs.length) return [`${changes.length} changes, ${movedNs.length} moves`]
  const windows: Window[] = [
    { open: openWhileRunning, fromNs: 0n, knownNs: 0n },
    ...changes.map(({ running, atNs }, index) => ({
      open: running === openWhileRunning,
      fromNs: atNs,
      knownNs: movedNs[index] ?? 0n,
    })),
  ]
  const windowAt = (timeNs: bigint) => windows.findLast(({ fromNs }) => fromNs <= timeNs)
  const found: string[] = []
  let late = 0
  let perhapsLate = 0
  for (const { number, before, after } of stamps) {
    const window = windowAt(before)
    const does = passed.has(number)
    if (window === undefined || window !== windowAt(after)) {
      if (does && window?.open) perhapsLate += 1
    } else if (window.open) {
      if (!does && before >= window.knownNs - preRollNs) found.push(`${number} was missed`)
    } else if (does) {
      late += 1
      if (before > window.knownNs) found.push(`${number} passed ${before - window.fromNs} ns after the end`)
    }
  }
  if (forwardedLate < late || forwardedLate > late + perhapsLate) {
    found.push(`${forwardedLate} counted as late, not ${late} to ${late + perhapsLate}`)
  }
  return found
}
