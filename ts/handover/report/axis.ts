/** One time axis for both hosts: milliseconds after the stop, by the source's clock. */

import { clockOffsetMs, type NetdevPair } from './pair.ts'
import type { Moment, Side } from './shape.ts'

export interface Axis {
  /** What happened at 0. */
  zero: 'STOP' | 'the start'
  /** Of the destination's clock, as corrected; undefined: not known, or nothing to correct. */
  offsetMs: number | undefined
  /** Milliseconds from zero to a moment by a side's own clock. */
  of: (side: Side, moment: Moment) => number
}

export function axisOf(pair: NetdevPair): Axis {
  const { source, destination } = pair
  // A single side needs no other clock.
  const offsetMs = source && destination ? clockOffsetMs(pair) : undefined
  const shift = (side: Side) => (side === 'destination' ? (offsetMs ?? 0) : 0)
  const [side, stopped, start]: [Side, Moment | null | undefined, Moment | undefined] = source?.stopped_ns
    ? ['source', source.stopped_ns, undefined]
    : destination?.stopped_ns
      ? ['destination', destination.stopped_ns, undefined]
      : source
        ? ['source', null, source.states[0]?.time_ns]
        : ['destination', null, destination?.states[0]?.time_ns]
  const zeroNs = BigInt(stopped ?? start ?? 0)
  const zeroShift = shift(side)
  return {
    zero: stopped ? 'STOP' : 'the start',
    offsetMs,
    of: (of, moment) => Number(BigInt(moment) - zeroNs) / 1e6 - shift(of) + zeroShift,
  }
}

/** `352 ms`, `0.11 ms`, `1.24 s`, `5 min 02 s` */
export function inWords(milliseconds: number): string {
  if (milliseconds < 1) return `${Number(milliseconds.toFixed(2))} ms`
  if (milliseconds < 100) return `${Number(milliseconds.toFixed(1))} ms`
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 59_950) return `${Number((milliseconds / 1000).toFixed(milliseconds < 9_995 ? 2 : 1))} s`
  const seconds = Math.round(milliseconds / 1000)
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`
}

/** The same with its sign: `+352 ms`, `−8.21 s`, `0`. */
export function relative(milliseconds: number): string {
  const text = inWords(Math.abs(milliseconds))
  if (text === '0 ms') return '0'
  return `${milliseconds < 0 ? '−' : '+'}${text}`
}
