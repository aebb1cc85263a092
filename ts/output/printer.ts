/**
 * Where every line goes. stdout is data: help, a plan, JSON objects. stderr is everything else.
 *
 * Lines on stderr start with `tapferry: `, so that they can be told apart in a shared log. Lines about
 * something that happened carry its local time, except under journald, which has its own.
 */

import type { ChalkInstance } from 'chalk'
import type { TapferryError } from '../errors.ts'
import { type ColorMode, colorsFor } from './color.ts'
import { formatRfc3339, formatTimeOfDay, nowNs } from './format.ts'

/** quiet: the ready line, warnings and errors. verbose: details as well. */
export type Level = 'quiet' | 'normal' | 'verbose'

export interface PrinterOptions {
  json: boolean
  level: Level
  color: ColorMode
}

/** The types of the JSON objects. */
export type RecordType =
  | 'plan'
  | 'ready'
  | 'event'
  | 'statistics'
  | 'summary'
  | 'vm'
  | 'netdev'
  | 'finding'
  | 'diagnosis'
  | 'version'
  | 'error'

/** A flat object: numbers raw, absent values left out. */
export type RecordFields = Readonly<Record<string, string | number | boolean | undefined>>

export class Printer {
  readonly json: boolean
  readonly stdoutColors: ChalkInstance
  readonly stderrColors: ChalkInstance
  readonly #level: Level
  readonly #withTime = process.env['JOURNAL_STREAM'] === undefined

  constructor(options: PrinterOptions) {
    this.json = options.json
    this.#level = options.level
    this.stdoutColors = colorsFor(process.stdout, options.color)
    this.stderrColors = colorsFor(process.stderr, options.color)
  }

  /** Data on stdout, as it is. */
  data(text: string): void {
    process.stdout.write(text)
  }

  /** With --json, one object on a line of stdout; without, nothing. */
  record(type: RecordType, fields: RecordFields, timeNs: bigint = nowNs()): void {
    if (!this.json) return
    process.stdout.write(`${JSON.stringify({ type, time: formatRfc3339(timeNs), ...fields })}\n`)
  }

  /** With --json, a line that has its type and its time already. */
  object(line: object): void {
    if (this.json) process.stdout.write(`${JSON.stringify(line)}\n`)
  }

  /** Printed at every level. */
  always(text: string): void {
    this.#line(text)
  }

  notice(text: string): void {
    if (this.#level !== 'quiet') this.#line(text)
  }

  /** What somebody may want to know of what was asked for. */
  notes(texts: readonly string[]): void {
    for (const text of texts) {
      this.notice(`note: ${text}`)
      this.record('event', { event: 'note', message: text })
    }
  }

  /** A heading and its lines, already indented. */
  block(heading: string, lines: readonly string[]): void {
    if (this.#level === 'quiet') return
    this.#line(heading)
    process.stderr.write(`${lines.join('\n')}\n`)
  }

  detail(text: string, timeNs?: bigint): void {
    if (this.#level !== 'verbose') return
    this.#line(this.stderrColors.dim(timeNs === undefined ? text : this.#timed(text, timeNs)))
  }

  /** Something that happened at a time. */
  event(text: string, timeNs: bigint): void {
    if (this.#level !== 'quiet') this.#line(this.#timed(text, timeNs))
  }

  warning(text: string, timeNs?: bigint): void {
    const line = `${this.stderrColors.yellow('warning:')} ${text}`
    this.#line(timeNs === undefined ? line : this.#timed(line, timeNs))
  }

  /** The next step, below what it is about. */
  hint(text: string | undefined): void {
    if (text !== undefined) process.stderr.write(`${text.replace(/^/gm, '  ')}\n`)
  }

  /** A failure: for people on stderr, and with --json for programs on stdout. */
  failure(error: TapferryError): void {
    const { red, bold } = this.stderrColors
    this.#line(`${red.bold('error:')} ${bold(error.message)}`)
    this.hint(error.hint)
    if (error.code === 'INTERNAL' && error.cause instanceof Error) {
      process.stderr.write(`${error.cause.stack ?? ''}\n`)
    }
    this.record('error', {
      code: error.code,
      message: error.message,
      hint: error.hint,
      exit_status: error.exitStatus,
    })
  }

  #timed(text: string, timeNs: bigint): string {
    return this.#withTime ? `${this.stderrColors.dim(formatTimeOfDay(timeNs))} ${text}` : text
  }

  #line(text: string): void {
    process.stderr.write(`tapferry: ${text}\n`)
  }
}
