/** What a piece of a QEMU command line comes to, in one line: the options of tapferry, or why not. */

import { TapferryError } from '../../ts/errors.ts'
import { planAll, type RunPlans } from '../../ts/qemu/plan.ts'
import type { RunOptions } from '../../ts/run/options.ts'

/** Options of `tapferry run` as they are parsed. */
export function planOf(options: Partial<RunOptions>, argv: readonly string[] = []): RunPlans {
  return planAll(options as RunOptions, argv)
}

/** Each object's command without its beginning, or the code and the message. */
export function outcome(options: Partial<RunOptions>): string[] {
  try {
    return planOf(options).plans.map(({ object }) => object?.command.replace('tapferry run ', '') ?? '')
  } catch (error) {
    if (!(error instanceof TapferryError)) throw error
    return [`${error.code} ${error.message}`]
  }
}

export function refusal(options: Partial<RunOptions>): TapferryError {
  try {
    planOf(options)
  } catch (error) {
    if (error instanceof TapferryError) return error
    throw error
  }
  throw new Error('it is not refused')
}
