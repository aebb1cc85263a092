/** What the demo prints: on stdout, in colours on a terminal only. */

import { TapferryError } from '../ts/errors.ts'
import { colorsFor } from '../ts/output/color.ts'
import { formatCount, formatFrames } from '../ts/output/format.ts'
import type { Measured } from './story.ts'
import { type Guest, Missing } from './surroundings.ts'
import { NETDEV, TAP } from './vm.ts'

const { bold, dim, green, red, yellow } = colorsFor(process.stdout, 'auto')

export function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

export function introduce(guest: Guest): void {
  say(`\n${bold("tapferry: a VM's frames, copied to another interface while the gate is open")}\n`)
  if ('image' in guest) {
    const { qemuVersion, version } = guest.image
    say(`  VM     QEMU ${qemuVersion} with Linux ${version}; its netdev ${NETDEV} is ${TAP}`)
  } else {
    say(`  VM     ${yellow('simulated, with a simulated monitor')}; its netdev ${NETDEV} is ${TAP}. Why:`)
    for (const part of guest.missing.split('; ')) say(`         ${part}`)
  }
  say(`  net    ${TAP} and tapB are real, in a network namespace of the demo`)
}

/** The guest boots for a few seconds; what comes of it is said on the same line. */
export function sayBooting(): void {
  process.stdout.write('  guest  booting ... ')
}

export function sayCommand(args: readonly string[]): void {
  say(`\n${dim('$')} ${bold(`tapferry run ${args.join(' ')}`)}`)
}

/** What tapferry has said meanwhile. */
export function sayHeard(lines: readonly string[]): void {
  for (const line of lines) say(`  ${dim(line)}`)
}

/** What the demo has done. */
export function sayDone(text: string): void {
  say(`  ${text}`)
}

interface Column {
  readonly heading: string
  cell(row: Measured): string
  /** Words stand on the left, numbers on the right. */
  readonly left?: true
  readonly color?: (row: Measured) => (text: string) => string
}

const COLUMNS: readonly Column[] = [
  { heading: 'VM', cell: row => row.step.state, left: true },
  {
    heading: 'gate',
    cell: row => row.gate,
    left: true,
    color: row => (row.gate === 'open' ? green : yellow),
  },
  { heading: 'sent', cell: row => formatCount(row.sent) },
  { heading: 'captured', cell: row => formatCount(row.captured) },
  { heading: 'forwarded', cell: row => formatCount(row.forwarded) },
  { heading: 'dropped', cell: droppedInWords, left: true },
  { heading: 'tapB', cell: row => formatCount(row.output.frames) },
  { heading: 'guest', cell: row => formatCount(row.guest) },
]

function droppedInWords({ dropped, reasons }: Measured): string {
  return [formatCount(dropped), Object.keys(reasons).join(', ')].join(' ').trim()
}

/** A row for each step, under the options of its run. */
export function printTable(measured: readonly Measured[]): void {
  const columns = COLUMNS.map(column => {
    const width = Math.max(column.heading.length, ...measured.map(row => column.cell(row).length))
    const pad = (text: string) => (column.left ? text.padEnd(width) : text.padStart(width))
    const color = (row: Measured) => column.color?.(row) ?? ((text: string) => text)
    return { heading: pad(column.heading), cell: (row: Measured) => color(row)(pad(column.cell(row))) }
  })
  say(dim(`  ${columns.map(({ heading }) => heading).join('  ')}`))
  let options: string | undefined
  for (const row of measured) {
    if (row.options !== options) say(`${options === undefined ? '' : '\n'}  ${bold(row.options)}`)
    options = row.options
    say(`  ${columns.map(({ cell }) => cell(row)).join('  ')}`)
  }
  say('')
}

/** What the numbers come to. */
export function printVerdict(measured: readonly Measured[], faults: readonly string[]): void {
  if (faults.length > 0) {
    say(red.bold(faults.length === 1 ? 'One number is not what it should be:' : 'Not what it should be:'))
    for (const fault of faults) say(`  ${red('✗')} ${fault}`)
    return
  }
  const yes = green('✓')
  say(`  ${yes} tapB got what was sent while the gate was open: each frame once, in order`)
  for (const { resumed } of measured) {
    if (resumed === undefined) continue
    const { firstFrameMs, gateMs } = resumed
    say(`  ${yes} the first frame after cont is among it, and none from before`)
    say(
      dim(
        `    sent ${firstFrameMs.toFixed(1)} ms after RESUME, of which tapferry heard after ${gateMs.toFixed(1)} ms`,
      ),
    )
  }
  const guest = formatFrames(measured.reduce((sum, row) => sum + row.guest, 0))
  say(`  ${yes} the guest got all ${guest} as well: tapferry copies`)
  say(`  ${yes} captured = forwarded + dropped in every row\n`)
}

/** After a signal, when all is cleaned up. */
export function sayInterrupted(): void {
  process.stderr.write('\ndemo: interrupted; nothing of it is left\n')
}

/** Says on stderr why the demo could not run, or what failed. */
export function explain(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  const hint = error instanceof Missing || error instanceof TapferryError ? error.hint : undefined
  process.stderr.write(`demo: ${message}\n${hint === undefined ? '' : `  ${hint}\n`}`)
}
