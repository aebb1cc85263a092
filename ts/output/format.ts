/** Numbers, times and words as people and programs read them. Pure. */

import type { Queue } from '../binding.ts'
import type { Hold } from '../run/buffer-options.ts'

export const QUEUE_IN_WORDS: Record<Queue, string> = {
  tx: 'frames to the guest',
  rx: 'frames from the guest',
  all: 'frames to and from the guest',
}

export function holdInWords(hold: Hold): string {
  return hold === 'until-running' ? 'held until the VM runs' : `released every ${hold} ms`
}

/** `1,234,567` */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 frame`, `2,000 frames` */
export function formatFrames(count: number): string {
  return `${formatCount(count)} ${count === 1 ? 'frame' : 'frames'}`
}

/** Decimal units, as network tools count: `832 B`, `1.21 MB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  let value = bytes
  let unit = 'B'
  for (unit of ['kB', 'MB', 'GB', 'TB', 'PB']) {
    value /= 1000
    if (value < 999.995) break
  }
  return `${value.toPrecision(value < 100 ? 3 : 4)} ${unit}`
}

/** `12.4 s`, `5 min 02 s`, `2 h 05 min` */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`
  const seconds = Math.round(milliseconds / 1000)
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`
}

/** Now, in nanoseconds since the epoch. */
export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}

/** RFC 3339 in UTC with nanoseconds, as far as the clock has them: `2026-11-22T19:03:07.123456789Z`. */
export function formatRfc3339(timeNs: bigint): string {
  const nanoseconds = String(timeNs % 1_000_000_000n).padStart(9, '0')
  const seconds = new Date(Number(timeNs / 1_000_000_000n) * 1000)
    .toISOString()
    .slice(0, 'YYYY-MM-DDTHH:MM:SS'.length)
  return `${seconds}.${nanoseconds}Z`
}

/** The local time of day, to the millisecond: `19:03:07.123`. */
export function formatTimeOfDay(timeNs: bigint): string {
  const date = new Date(Number(timeNs / 1_000_000n))
  const two = (value: number) => String(value).padStart(2, '0')
  const milliseconds = String(date.getMilliseconds()).padStart(3, '0')
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`
}
