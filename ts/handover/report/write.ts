/** A report on its way to its file. */

import { open, rename, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { TapferryError } from '../../errors.ts'
import { reasonOf } from './reasons.ts'
import type { HandoverReport } from './shape.ts'

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
      'give a file in a directory that this user may write to; what it would have said is above',
      { cause: error },
    )
  }
}
