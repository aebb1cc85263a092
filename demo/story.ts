/**
 * What happens, step by step, and what must come of it.
 *
 * In each step the VM is moved (or not), and the host sends numbered frames to it at once. Where they end is
 * measured at three places that know nothing of each other: tapferry's own counters, the reader of tapB, and
 * the guest.
 */

import type { Flow } from '../test/support/tally.ts'
import { formatFrames } from '../ts/output/format.ts'
import type { Cleanup } from './cleanup.ts'
import { Ferry, type Statistics } from './ferry.ts'
import type { Lab, Sent, Tally } from './lab.ts'
import { say, sayCommand, sayDone, sayHeard } from './report.ts'
import { MONITOR, NETDEV, TAP, type Vm } from './vm.ts'

/** Fewer than the thousand that a TAP keeps for a guest that does not read. */
const FRAMES = 500
/** Frames a second. */
const RATE = 5_000

const OUTPUT = 'tapB'
const ENDS = ['--in-netdev', NETDEV, '--out-netdev', OUTPUT, '--qmp', MONITOR]

interface Step {
  /** The VM, as the table calls it. */
  readonly state: string
  /** What is done over QMP right before the first frame. */
  readonly move?: 'stop' | 'cont'
  readonly gate: 'open' | 'closed'
  /** Whether tapferry captures at all. */
  readonly captures: boolean
}

/** One run of tapferry. */
interface Act {
  /** Its option besides the ends; none is the same as the default that the title names. */
  readonly options: readonly string[]
  readonly title: string
  readonly steps: readonly Step[]
}

const STORY: readonly Act[] = [
  {
    options: [],
    title: '--enable-when-stopped=off, the default',
    steps: [
      { state: 'running', gate: 'open', captures: true },
      { state: 'stopped', move: 'stop', gate: 'closed', captures: true },
      { state: 'running again', move: 'cont', gate: 'open', captures: true },
    ],
  },
  {
    options: ['--enable-when-stopped=on'],
    title: '--enable-when-stopped=on',
    steps: [{ state: 'stopped', move: 'stop', gate: 'open', captures: true }],
  },
  {
    options: ['--status=off'],
    title: '--status=off',
    steps: [{ state: 'running', move: 'cont', gate: 'closed', captures: false }],
  },
]

const MOVED = { not: '', stop: 'stop the VM, then ', cont: 'cont the VM, and at once ' } as const

export interface Measured {
  readonly step: Step
  /** What the run's options come to. */
  readonly options: string
  /** The number of its first frame. */
  readonly first: number
  readonly sent: number
  readonly gate: string
  readonly captured: number
  readonly forwarded: number
  readonly dropped: number
  /** Reason -> frames, those above zero. */
  readonly reasons: Readonly<Record<string, number>>
  readonly held: number
  readonly lostAtOutput: number
  /** What the reader of tapB saw in this step. */
  readonly output: Tally
  /** Frames of this step that the guest has read in the end. */
  guest: number
  /** After `cont`, in milliseconds since the VM's RESUME: the first frame, and tapferry's gate. */
  readonly resumed?: { readonly firstFrameMs: number; readonly gateMs: number }
}

/** Plays the whole story. */
export async function play(lab: Lab, vm: Vm, directory: string, cleanup: Cleanup): Promise<Measured[]> {
  await lab.ask('tap', { name: OUTPUT })
  const measured: Measured[] = []
  for (const { options, title, steps } of STORY) {
    const args = [...ENDS, ...options, '--json']
    sayCommand(args)
    const ferry = await Ferry.start(lab, args, directory, cleanup)
    sayHeard(ferry.newLines())
    for (const step of steps) {
      measured.push(await measure(lab, vm, ferry, step, title, measured.length * FRAMES))
      sayHeard(ferry.newLines())
    }
    const status = await ferry.stop()
    sayHeard(ferry.newLines())
    if (status !== 0) throw new Error(`tapferry ended with ${status}`)
    const { count } = await lab.ask<{ count: number }>('packet-sockets', {})
    if (count !== 0) throw new Error(`tapferry left ${count} packet sockets behind`)
  }
  const guest = await vm.received(measured.length * FRAMES)
  for (const row of measured) row.guest = countBetween(guest, row.first, row.first + FRAMES - 1)
  say('')
  return measured
}

async function measure(
  lab: Lab,
  vm: Vm,
  ferry: Ferry,
  step: Step,
  options: string,
  first: number,
): Promise<Measured> {
  const before = await ferry.statistics()
  if (step.move !== undefined) await vm[step.move]()
  // A STOP takes effect when tapferry hears of it: what comes a moment earlier may pass, and is counted as
  // forwarded late. A RESUME takes effect from its own time on, so nobody needs to wait for that.
  if (step.move === 'stop') await until(ferry, ({ running }) => !running)
  const sent = await lab.ask<Sent>('send', { netdev: TAP, count: FRAMES, first, rate: RATE })
  sayDone(`${MOVED[step.move ?? 'not']}send ${formatFrames(sent.frames)} to the guest`)
  const captured = before.captured + (step.captures ? FRAMES : 0)
  const after = await until(ferry, now => now.captured >= captured && now.held === 0)
  const output = await lab.ask<Tally>('received', {
    netdev: OUTPUT,
    atLeast: step.gate === 'open' ? FRAMES : 0,
    settleMs: 100,
    clear: true,
  })
  const reasons = Object.entries(after.reasons)
    .map(([reason, frames]) => [reason, frames - (before.reasons[reason] ?? 0)] as const)
    .filter(([, frames]) => frames !== 0)
  const resumed = resumption(ferry, step, sent)
  return {
    step,
    options,
    first,
    sent: sent.frames,
    gate: after.gate,
    captured: after.captured - before.captured,
    forwarded: after.forwarded - before.forwarded,
    dropped: after.dropped - before.dropped,
    reasons: Object.fromEntries(reasons),
    held: after.held,
    lostAtOutput: after.lostAtOutput - before.lostAtOutput,
    output,
    guest: 0,
    ...(resumed === undefined ? {} : { resumed }),
  }
}

/** Its statistics as soon as they are as wanted, or when that takes too long. */
async function until(ferry: Ferry, wanted: (now: Statistics) => boolean): Promise<Statistics> {
  const deadline = performance.now() + 5_000
  for (;;) {
    const statistics = await ferry.statistics()
    if (wanted(statistics) || performance.now() > deadline) return statistics
  }
}

function resumption(ferry: Ferry, { move, gate }: Step, { firstNs }: Sent): Measured['resumed'] {
  const resume = ferry.lastEvent('run_state')
  const opened = ferry.lastEvent('gate_opened')
  if (move !== 'cont' || gate !== 'open' || resume === undefined || opened === undefined) return undefined
  const resumeNs = nanoseconds(String(resume['time']))
  const since = (timeNs: bigint) => Number(timeNs - resumeNs) / 1e6
  return { firstFrameMs: since(BigInt(firstNs)), gateMs: since(nanoseconds(String(opened['time']))) }
}

/** RFC 3339 with nanoseconds, as --json has it, in nanoseconds since 1970. */
function nanoseconds(time: string): bigint {
  const [seconds = '', fraction = ''] = time.replace(/Z$/, '').split('.')
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'))
}

function countBetween(tally: Tally, first: number, last: number): number {
  const ranges = tally.flows['0']?.ranges ?? []
  const within = ranges.map(([from, to]) => Math.min(to, last) - Math.max(from, first) + 1)
  return within.reduce((sum, count) => sum + Math.max(0, count), 0)
}

/** What is not as it should be, a line each. */
export function check(measured: readonly Measured[]): string[] {
  return measured.flatMap(row => {
    const { step, first } = row
    const passed = step.gate === 'open' ? FRAMES : 0
    const numbers: [what: string, is: number, should: number][] = [
      ['sent', row.sent, FRAMES],
      ['captured', row.captured, step.captures ? FRAMES : 0],
      ['forwarded', row.forwarded, passed],
      ['dropped', row.dropped, step.captures ? FRAMES - passed : 0],
      ['dropped as gate_closed', row.reasons['gate_closed'] ?? 0, step.captures ? FRAMES - passed : 0],
      ['held', row.held, 0],
      ['lost at output', row.lostAtOutput, 0],
      ['frames on tapB', row.output.frames, passed],
      ['read by the guest', row.guest, FRAMES],
    ]
    const wrong = numbers
      .filter(([, is, should]) => is !== should)
      .map(([what, is, should]) => `${what} ${is}, should be ${should}`)
    if (row.gate !== step.gate) wrong.push(`gate ${row.gate}, should be ${step.gate}`)
    if (passed > 0 && !isWhole(row.output.flows['0'], first)) {
      const seen = JSON.stringify(row.output.flows)
      wrong.push(`tapB should have numbers ${first} to ${first + FRAMES - 1} once and in order, has ${seen}`)
    }
    return wrong.map(fault => `VM ${step.state}, ${row.options}: ${fault}`)
  })
}

/** Whether every number of a step is there once, in order and unchanged, and no other. */
function isWhole(flow: Flow | undefined, first: number): boolean {
  if (flow === undefined) return false
  const [range] = flow.ranges
  const exact = flow.ranges.length === 1 && range?.[0] === first && range[1] === first + FRAMES - 1
  return exact && flow.duplicates === 0 && flow.outOfOrder === 0 && flow.damaged === 0
}
