/** Failures of any kind, also those of parsing: how they are printed is therefore read from argv itself. */

import type { ExitStatus, TapferryError } from '../errors.ts'
import type { ColorMode } from './color.ts'
import { Printer } from './printer.ts'

/** Prints a failure and answers with its exit status. */
export function reportFailure(error: TapferryError, argv: readonly string[]): ExitStatus {
  const json = argv.includes('--json')
  new Printer({ json, level: 'normal', color: requestedColor(argv) }).failure(error)
  return error.exitStatus
}

/** The value of `--color` in an argv that may be wrong elsewhere. */
export function requestedColor(argv: readonly string[]): ColorMode {
  const at = argv.findIndex(argument => argument === '--color' || argument.startsWith('--color='))
  const argument = argv[at]
  const value = argument === '--color' ? argv[at + 1] : argument?.slice('--color='.length)
  return value === 'always' || value === 'never' ? value : 'auto'
}
