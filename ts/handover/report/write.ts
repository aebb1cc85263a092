/** A report on its way to its file. */

import { access, constants, open, rename, rm, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { TapferryError } from '../../errors.ts'
import { reasonOf } from './reasons.ts'
import type { HandoverReport } from './shape.ts'

const ADVICE = 'give a file in a directory that this user may write to'

/** Whole or not at all: whoever waits for the file finds all of it. Rejects with HANDOVER_REPORT_UNWRITABLE. */
export async function writeReport(file: string, report: HandoverReport): Promise<void> {
  const path = resolve(file)
  const temporary = `${path}.${process.pid}.new`
  try {
    const handle = await open(temporary, 'w')
    try {
      await handle.writeFile(`${JSON.stringify(report)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw new TapferryError(
      'HANDOVER_REPORT_UNWRITABLE',
      `the report was not written to '${file}': ${reasonOf(error)}`,
      `${ADVICE}; what it would have said is above`,
      { cause: error },
    )
  }
}

/** Before the migration, when another file can still be given. Rejects with HANDOVER_REPORT_UNWRITABLE. */
export async function checkReportFile(file: string): Promise<void> {
  const why = await whyNot(resolve(file))
  if (why === undefined) return
  throw new TapferryError(
    'HANDOVER_REPORT_UNWRITABLE',
    `no report can be written to '${file}': ${why}`,
    ADVICE,
  )
}

async function whyNot(path: string): Promise<string | undefined> {
  try {
    await access(dirname(path), constants.W_OK | constants.X_OK)
  } catch (error) {
    return reasonOf(error)
  }
  const there = await stat(path).catch(() => undefined)
  return there?.isDirectory() ? 'it is a directory' : undefined
}
