/** What is printed: a line for each migration, and a table for each variant. */

import type { Count } from './count.ts'
import type { Ferried } from './ferries.ts'
import type { Row } from './scene.ts'

/** A cell of each row. */
type Column = readonly [title: string, width: number, cell: (row: Row) => string]

const COLUMNS: readonly Column[] = [
  ['variant', 15, row => row.variant],
  ['tapferry', 10, row => withOrWithout(row)],
  ['way', 7, row => `${row.from} > ${row.to}`],
  ['sent', 7, row => String(row.unicast.sent)],
  ['lost', 6, row => String(row.unicast.lost)],
  ['dup', 5, row => String(row.unicast.duplicated)],
  ['reord', 7, row => String(row.unicast.reordered)],
  ['second NIC: same', 18, row => (row.second ? counted(row.second) : '-')],
  ['broadcasts: same', 18, row => (row.broadcast ? counted(row.broadcast) : '-')],
  ['down ms', 9, row => row.downtimeMs.toFixed(0)],
  ['total ms', 10, row => row.totalMs.toFixed(0)],
  ['tcp MB', 8, row => (row.stream ? (row.stream.received / 1e6).toFixed(1) : '-')],
  ['stall ms', 10, row => row.stream?.longestStallMs.toFixed(0) ?? '-'],
  ['resent', 8, row => String(row.stream?.retransmissions ?? '-')],
  ['wall s', 6, row => (row.wallMs / 1000).toFixed(1)],
]

const KILLED: readonly Column[] = [
  ['killed', 8, row => row.killed?.side ?? ''],
  ['at', 18, row => row.killed?.moment ?? ''],
  ['ms since RESUME', 17, row => row.killed?.sinceResumeMs.toFixed(0) ?? ''],
  ['lost', 6, row => String(row.unicast.lost)],
  ['dup', 5, row => String(row.unicast.duplicated)],
  ['reord', 7, row => String(row.unicast.reordered)],
  ['later: sent/lost', 18, ({ unicast: { later } }) => `${later.sent}/${later.lost}`],
  ['the other: status', 19, row => String(row.killed?.status)],
  ['s after RESUME', 16, row => ((row.killed?.endedAfterMs ?? 0) / 1000).toFixed(1)],
  ['left for good', 15, row => listed(row.killed?.leftForGood ?? [])],
  ['left at first', 13, row => listed(row.left)],
]

/** A number of each row, of which a table shows the least and the most. */
type Span = readonly [title: string, width: number, value: (row: Row) => number | undefined]

const SPANS: readonly Span[] = [
  ['lost', 11, row => row.unicast.lost],
  ['dup', 9, row => row.unicast.duplicated],
  ['reord', 9, row => row.unicast.reordered],
  ['second NIC lost', 17, row => row.second?.lost],
  ['dup', 9, row => row.second?.duplicated],
  ['broadcast lost', 16, row => row.broadcast?.lost],
  ['broadcast dup', 15, row => row.broadcast?.duplicated],
  ['down ms', 11, row => row.downtimeMs],
  ['total ms', 11, row => row.totalMs],
  ['tcp MB', 11, row => row.stream && row.stream.received / 1e6],
  ['stall ms', 10, row => row.stream?.longestStallMs],
  ['resent', 8, row => row.stream?.retransmissions],
]

const VARIANT_WIDTH = 15
const WITH_WIDTH = 10
const TIMES_WIDTH = 7

export function printHead(): void {
  line(COLUMNS.map(([title, width]) => title.padEnd(width)))
}

export function printRow(row: Row): void {
  line(COLUMNS.map(([, width, cell]) => cell(row).padEnd(width)))
  for (const fault of faults(row)) line([`  ${fault}`])
}

/** What became of those that lost their other side. */
export function printKilled(rows: readonly Row[]): void {
  const killed = rows.filter(row => row.killed !== undefined)
  if (killed.length === 0) return
  line([])
  line(KILLED.map(([title, width]) => title.padEnd(width)))
  for (const row of killed) {
    line(KILLED.map(([, width, cell]) => cell(row).padEnd(width)))
    line([`  ${row.killed?.lastLine}`])
  }
}

/** The least and the most of each variant, with tapferry and without. */
export function printSummary(rows: readonly Row[]): void {
  const head = ['variant'.padEnd(VARIANT_WIDTH), 'tapferry'.padEnd(WITH_WIDTH), 'times'.padEnd(TIMES_WIDTH)]
  line([])
  line([...head, ...SPANS.map(([title, width]) => title.padEnd(width))])
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const name = row.variant.padEnd(VARIANT_WIDTH) + withOrWithout(row).padEnd(WITH_WIDTH)
    groups.set(name, [...(groups.get(name) ?? []), row])
  }
  for (const [name, group] of groups) {
    line([
      name,
      String(group.length).padEnd(TIMES_WIDTH),
      ...SPANS.map(([, width, value]) => span(group.flatMap(row => value(row) ?? [])).padEnd(width)),
    ])
  }
}

/** What makes a row worth less than it looks, or was not as it should be. */
function faults({ unicast, second, broadcast, dropped, lostByReader, stream, ...row }: Row): string[] {
  const elsewhere = (flow: string, lost = 0) => {
    return lost > 0 ? [`${lost} ${flow} were lost long before STOP or after RESUME`] : []
  }
  return [
    ...elsewhere('datagrams', unicast.elsewhere),
    ...elsewhere('datagrams to the second NIC', second?.elsewhere),
    ...elsewhere('broadcasts', broadcast?.elsewhere),
    ...full('before STOP', dropped.beforeStop),
    ...full('after RESUME', dropped.afterResume),
    ...(lostByReader > 0 ? [`the guest did not count ${lostByReader} frames: its tally says nothing`] : []),
    ...(stream && stream.received !== stream.bytes ? [`the guest has not all ${stream.bytes} bytes`] : []),
    // Of those that were killed there is a table of its own.
    ...(row.killed
      ? []
      : [...ended('source', row.source), ...ended('dest', row.destination), ...left(row.left)]),
  ]
}

function full(when: string, frames: number): string[] {
  return frames > 0 ? [`${frames} frames found a TAP's queue full ${when}: QEMU did not read in time`] : []
}

function left(traces: readonly string[]): string[] {
  return traces.length === 0 ? [] : [`left behind: ${listed(traces)}`]
}

function listed(traces: readonly string[]): string {
  return traces.join(', ') || 'nothing'
}

function ended(side: string, ferried: Ferried | undefined): string[] {
  if (ferried === undefined || ferried.status === 0) return []
  return [`tapferry handover ${side} ended with ${ferried.status}: ${ferried.stderr.trim()}`]
}

function withOrWithout({ ferried }: Row): string {
  return ferried ? 'with' : 'without'
}

function counted({ sent, lost, duplicated, reordered }: Count): string {
  return [sent, lost, duplicated, reordered].join('/')
}

function span(values: readonly number[]): string {
  if (values.length === 0) return '-'
  const least = Math.min(...values).toFixed(0)
  const most = Math.max(...values).toFixed(0)
  return least === most ? least : `${least}-${most}`
}

function line(cells: readonly string[]): void {
  process.stdout.write(`${cells.join('').trimEnd()}\n`)
}
