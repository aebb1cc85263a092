/** Which part of time the picture shows, and what happened in it, column by column. Pure. */

import type { Axis } from './axis.ts'
import { niceStep } from './labels.ts'
import type { NetdevPair } from './pair.ts'
import type { EnteredState, Side, Timeline } from './shape.ts'

/** A moment with a name. */
export interface Mark {
  name: string
  at: number
  kind: 'stop' | 'cut' | 'gate' | 'resume' | 'rarp' | 'end'
}

/** In milliseconds of the axis. */
export interface Span {
  from: number
  to: number
}

/** Frames in one column. */
export interface Column {
  captured: number
  sent: number
  came: number
  injected: number
  direct: number
  deduplicated: number
}

/** States that a handover ends with, and what the mark is called. */
const ENDS: Readonly<Record<string, string>> = {
  done: 'END',
  cancelled: 'CANCELLED',
  discarded: 'DISCARDED',
  failed: 'FAILED',
  stopped: 'STOPPED',
}

/** In order of time. */
export function marksOf({ source, destination }: NetdevPair, axis: Axis): Mark[] {
  const marks: Mark[] = []
  if (axis.zero === 'STOP') {
    marks.push({ name: 'STOP', at: 0, kind: 'stop' })
    if (typeof source?.cut_after_ms === 'number')
      marks.push({ name: 'CUT', at: source.cut_after_ms, kind: 'cut' })
    else if (!source && destination?.cut_ns) {
      marks.push({ name: 'CUT known', at: axis.of('destination', destination.cut_ns), kind: 'cut' })
    }
  }
  if (destination?.opened_ns) {
    marks.push({ name: 'gate opened', at: axis.of('destination', destination.opened_ns), kind: 'gate' })
  }
  const resumed = resumedAt({ source, destination }, axis)
  if (resumed !== undefined) marks.push({ name: 'RESUME', at: resumed, kind: 'resume' })
  if (source?.announced_ns) {
    marks.push({ name: 'RARP', at: axis.of('source', source.announced_ns), kind: 'rarp' })
  }
  const end = source
    ? endOf(source.states, 'source', axis)
    : endOf(destination?.states ?? [], 'destination', axis)
  if (end !== undefined) marks.push(end)
  return marks.sort((a, b) => a.at - b.at)
}

/** When the VM ran again, by the side that saw it. */
export function resumedAt({ source, destination }: Omit<NetdevPair, 'name'>, axis: Axis): number | undefined {
  if (destination?.resumed_ns) return axis.of('destination', destination.resumed_ns)
  return source?.resumed_ns ? axis.of('source', source.resumed_ns) : undefined
}

function endOf(states: readonly EnteredState[], side: Side, axis: Axis): Mark | undefined {
  const last = states.at(-1)
  const name = ENDS[last?.state ?? '']
  return last && name ? { name, at: axis.of(side, last.time_ns), kind: 'end' } : undefined
}

/** Some of the time before the stop, all of the downtime, and of what follows as much again, if it has to do with it. */
export function spanOf(pair: NetdevPair, axis: Axis, marks: readonly Mark[]): Span | undefined {
  if (axis.zero !== 'STOP') return undefined
  const active = [
    ...(pair.source?.timeline.slices ?? [])
      .filter(({ came, went }) => came + went > 0)
      .map(({ time_ns }) => axis.of('source', time_ns)),
    ...(pair.destination?.timeline.slices ?? [])
      .filter(({ came, went, deduplicated }) => came + went + deduplicated > 0)
      .map(({ time_ns }) => axis.of('destination', time_ns)),
  ]
  const downtime = resumedAt(pair, axis)
  const core = Math.max(50, downtime ?? latest(active) ?? 50)
  const limit = downtime === undefined ? core * 1.5 + 250 : downtime * 2 + 500
  const ends = [...active, ...marks.map(({ at }) => at)].filter(at => at <= limit)
  const to = Math.max(core, latest(ends) ?? 0)
  return { from: -Math.max(20, to * 0.05), to: to * 1.02 }
}

function latest(moments: readonly number[]): number | undefined {
  return moments.length === 0 ? undefined : moments.reduce((a, b) => Math.max(a, b))
}

/** Milliseconds of a column, a round number of slices, so that at most so many columns fill the span. */
export function columnMs({ source, destination }: NetdevPair, { from, to }: Span, columns: number): number {
  const slice = source?.timeline.slice_ms ?? destination?.timeline.slice_ms ?? 5
  const slices = Math.ceil((to - from) / slice)
  return slices <= columns ? slice : slice * Math.ceil(niceStep(slices, columns))
}

/** The columns in which something happened, by their place: the first begins at `from`. */
export function columnsOf(
  pair: NetdevPair,
  axis: Axis,
  { from, to }: Span,
  width: number,
): Map<number, Column> {
  const columns = new Map<number, Column>()
  const add = (side: Side, timeline: Timeline | undefined) => {
    for (const { time_ns, came, went, direct, deduplicated } of timeline?.slices ?? []) {
      const at = axis.of(side, time_ns) + (timeline?.slice_ms ?? 0) / 2
      if (at < from || at >= to) continue
      const place = Math.floor((at - from) / width)
      const column = columns.get(place) ?? {
        captured: 0,
        sent: 0,
        came: 0,
        injected: 0,
        direct: 0,
        deduplicated: 0,
      }
      column[side === 'source' ? 'captured' : 'came'] += came
      column[side === 'source' ? 'sent' : 'injected'] += went
      column.direct += direct
      column.deduplicated += deduplicated
      columns.set(place, column)
    }
  }
  add('source', pair.source?.timeline)
  add('destination', pair.destination?.timeline)
  return columns
}
