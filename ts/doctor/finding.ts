/** What doctor finds, and how much it matters. */

import { ExitStatus, type TapferryError } from '../errors.ts'

/** error: a run fails, or no frame gets through. warning: frames may be lost, late or doubled. */
export type Severity = 'error' | 'warning' | 'info' | 'ok'

export interface Finding {
  /** Stable, as the codes of failures are. */
  readonly code: string
  readonly severity: Severity
  /** What it is about: `in_netdev tapA`, `monitor /run/vm.qmp`, `kernel`. */
  readonly about: string
  /** What is so, and what follows from it. */
  readonly message: string
  /** A shell command, for root, that removes it as it stands. */
  readonly fix?: string
  /** What to do where no one command does it. */
  readonly note?: string
  /** Of an error: what a run would end with. */
  readonly status?: ExitStatus
}

export type Details = Pick<Finding, 'fix' | 'note'>

export function error(
  code: string,
  status: ExitStatus,
  about: string,
  message: string,
  details: Details = {},
): Finding {
  return { code, severity: 'error', about, message, status, ...details }
}

/** What a run would end with here. */
export function failure(about: string, { code, exitStatus, message, hint }: TapferryError): Finding {
  return error(code, exitStatus, about, message, noteOf(hint))
}

/** The next step of a failure, where it has one. */
export function noteOf(hint: string | undefined): Details {
  return hint === undefined ? {} : { note: hint }
}

export function warning(code: string, about: string, message: string, details: Details = {}): Finding {
  return { code, severity: 'warning', about, message, ...details }
}

export function info(code: string, about: string, message: string, details: Details = {}): Finding {
  return { code, severity: 'info', about, message, ...details }
}

/** Something was looked at, and is as it should be. */
export function ok(code: string, about: string, message: string): Finding {
  return { code, severity: 'ok', about, message }
}

export function count(findings: readonly Finding[], severity: Severity): number {
  return findings.filter(finding => finding.severity === severity).length
}

/** The worst first; what is equally bad stays in order. */
export function bySeverity(findings: readonly Finding[]): Finding[] {
  const order: readonly Severity[] = ['error', 'warning', 'info', 'ok']
  return order.flatMap(severity => findings.filter(finding => finding.severity === severity))
}

/** That of the first error; with `strict` a warning is a failure, too. */
export function exitStatusFor(findings: readonly Finding[], strict: boolean): ExitStatus {
  const first = findings.find(({ severity }) => severity === 'error')
  if (first !== undefined) return first.status ?? ExitStatus.Failed
  return strict && count(findings, 'warning') > 0 ? ExitStatus.Failed : ExitStatus.Done
}
