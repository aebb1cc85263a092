/** Every check, in the order in which its findings are told: what all else needs comes first. */

import type { Facts } from '../facts.ts'
import type { Finding } from '../finding.ts'
import { checkCapture } from './capture.ts'
import { checkCredentials } from './credentials.ts'
import { checkDatagrams } from './datagrams.ts'
import { checkHost } from './host.ts'
import { checkInterfaces } from './interfaces.ts'
import { checkLoops } from './loops.ts'
import { checkMonitor } from './monitor.ts'
import { checkOffloads } from './offloads.ts'
import { checkPrivileges } from './privileges.ts'
import { checkStreams } from './streams.ts'

const CHECKS: readonly ((facts: Facts) => Finding[])[] = [
  checkPrivileges,
  checkMonitor,
  checkInterfaces,
  checkStreams,
  checkDatagrams,
  checkCredentials,
  checkOffloads,
  checkLoops,
  checkCapture,
  checkHost,
]

export function runChecks(facts: Facts): Finding[] {
  return CHECKS.flatMap(check => check(facts))
}
