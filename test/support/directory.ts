/** A place for files that are gone with the test. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

export function temporaryDirectory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tapferry-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}
