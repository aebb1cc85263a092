/**
 * How fast the state of the VM travels, and when QEMU is to stop it, so that the guest stands still for a given time.
 *
 * QEMU stops the VM when it believes that what is left takes no longer than `downtime-limit`. Pages of zeros count
 * as left, and then take no time: this guest's share of them was measured.
 */

/** Megabits a second between the hosts. */
const PLAIN_MBIT = 400
/** So slow that the guest's memory takes longer than a long downtime. */
const SLOW_MBIT = 200
const LONG_MS = 1_000

/** Zeros in one piece, megabits, and what is left per part of it that is no zeros. */
const ZEROS_MBIT = 310
const LEFT_PER_SENT = 1.2

export function megabits(downtimeMs: number): number {
  return downtimeMs < LONG_MS ? PLAIN_MBIT : SLOW_MBIT
}

/** For `downtime-limit`, in ms. */
export function downtimeLimit(downtimeMs: number): number {
  return Math.round(downtimeMs * LEFT_PER_SENT + (ZEROS_MBIT * 1000) / megabits(downtimeMs))
}
