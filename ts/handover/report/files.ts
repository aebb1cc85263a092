/** The files that a page is made of, and the one that it becomes. */

import { open, readFile, realpath, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { TapferryError } from '../../errors.ts'
import { usageError } from '../../options/values.ts'
import type { ReadReport } from './pair.ts'
import { readReport, WHERE_FROM } from './read.ts'
import { reasonOf } from './reasons.ts'

export interface PagePlan {
  files: readonly string[]
  /** undefined: stdout. */
  output: string | undefined
}

export function planPage(files: readonly string[], output: string | undefined): PagePlan {
  const [first] = files
  const reports = 'give the report of one side, or those of both: tapferry handover report FILE [FILE]'
  if (first === undefined) throw usageError('no report given', reports)
  if (files.length > 2) throw usageError(`${files.length} reports given, at most two make a page`, reports)
  if (output === '-') return { files, output: undefined }
  const plan = { files, output: output ?? `${first.replace(/\.json$/, '')}.html` }
  if (files.includes(plan.output))
    throw usageError(`-o: '${plan.output}' is one of the reports`, 'give another name')
  return plan
}

export function readReports(files: readonly string[]): Promise<ReadReport[]> {
  return Promise.all(files.map(async file => ({ file, report: readReport(await textOf(file), file) })))
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new TapferryError('REPORT_UNREADABLE', `'${file}' cannot be read: ${reasonOf(error)}`, WHERE_FROM)
  }
}

/** Under another name first, so that nobody ever sees half a page, and an old one stays until the new one is whole. */
export async function writePage(file: string, page: string): Promise<void> {
  // A link stays, and what it leads to is replaced.
  const target = await realpath(file).catch(() => file)
  const draft = join(dirname(target), `.${basename(target)}.${process.pid}`)
  try {
    const handle = await open(draft, 'wx', 0o644)
    try {
      await handle.writeFile(page)
    } finally {
      await handle.close()
    }
    await rename(draft, target)
  } catch (error) {
    await rm(draft, { force: true })
    throw new TapferryError('PAGE_UNWRITABLE', `'${file}' cannot be written: ${reasonOf(error)}`)
  }
}
