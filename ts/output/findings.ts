/** What `tapferry doctor` prints, and a rehearsal of a handover. */

import type { ChalkInstance } from 'chalk'
import { bySeverity, count, exitStatusFor, type Finding, type Severity } from '../doctor/finding.ts'
import type { ExitStatus } from '../errors.ts'
import type { Printer, RecordFields } from './printer.ts'

/** Prints all of it, and answers with the exit status. `all`: what is right as well. */
export function printDiagnosis(
  findings: readonly Finding[],
  printer: Printer,
  { all, strict }: { all: boolean; strict: boolean },
): ExitStatus {
  const status = exitStatusFor(bySeverity(findings), strict)
  for (const finding of bySeverity(findings)) printer.record('finding', findingRecord(finding))
  printer.record('diagnosis', diagnosisRecord(findings, status))
  if (!printer.json) printer.data(`${findingsText(findings, all, printer.stdoutColors)}\n`)
  return status
}

/** With `all`, what is right as well. */
export function findingsText(findings: readonly Finding[], all: boolean, colors: ChalkInstance): string {
  const shown = bySeverity(findings).filter(({ severity }) => all || severity !== 'ok')
  return [...shown.flatMap(finding => findingLines(finding, colors)), total(findings, colors)].join('\n')
}

function findingLines({ severity, about, message, fix, note }: Finding, colors: ChalkInstance): string[] {
  const { bold, cyan } = colors
  const painted = paint(severity, colors)(severity.padEnd('warning'.length))
  return [
    `${painted}  ${bold(about)}: ${message}`,
    ...(fix === undefined ? [] : [`         fix: ${cyan(fix)}`]),
    ...(note === undefined ? [] : [`         ${note}`]),
  ]
}

function paint(severity: Severity, { red, yellow, blue, green }: ChalkInstance): ChalkInstance {
  return { error: red, warning: yellow, info: blue, ok: green }[severity]
}

function total(findings: readonly Finding[], { green, red, yellow }: ChalkInstance): string {
  const [errors, warnings] = [count(findings, 'error'), count(findings, 'warning')]
  const right = count(findings, 'ok')
  const passed = right === 1 ? '1 thing is right' : `${right} things are right`
  if (errors === 0 && warnings === 0) return green(`nothing wrong found; ${passed}`)
  const words = [
    ...(errors > 0 ? [red(plural(errors, 'error'))] : []),
    ...(warnings > 0 ? [yellow(plural(warnings, 'warning'))] : []),
  ]
  return `${words.join(', ')}; ${passed}`
}

function plural(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`
}

export function findingRecord({ code, severity, about, message, fix, note }: Finding): RecordFields {
  return { code, severity, about, message, fix, note }
}

export function diagnosisRecord(findings: readonly Finding[], exitStatus: ExitStatus): RecordFields {
  return {
    errors: count(findings, 'error'),
    warnings: count(findings, 'warning'),
    infos: count(findings, 'info'),
    ok: count(findings, 'ok'),
    exit_status: exitStatus,
  }
}
