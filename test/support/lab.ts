/** Tests in a lab, and tests that are skipped where what they need is not to be had. */

import test, { type ExecutionContext } from 'ava'
import { Lab, Unavailable } from './testbed.ts'

export { Lab, type Reply, TARGET, TESTBED, Unavailable } from './testbed.ts'

/** A test in a lab of its own; one at a time, because many at once on few cores tell little about time. */
export function labTest(title: string, body: (t: ExecutionContext, lab: Lab) => Promise<void>): void {
  test.serial(title, async t => {
    const lab = await orSkip(t, Lab.open())
    if (lab === undefined) return
    t.teardown(() => lab.close())
    await body(t, lab)
  })
}

/** What a test needs, or undefined when it is not to be had: the test has said so then, and counts as skipped. */
export async function orSkip<T>(t: ExecutionContext, needed: Promise<T>): Promise<T | undefined> {
  try {
    return await needed
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error
    t.log(`skipped: ${error.message}`)
    t.pass()
    return undefined
  }
}
