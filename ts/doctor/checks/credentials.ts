/** Whether the credentials for TLS of a stream are of use, for how long, and to whom they are open. Pure. */

import { quote } from '../../options/words.ts'
import { formatStreamAddress } from '../../stream/address.ts'
import type { CredentialsFacts, Facts } from '../facts.ts'
import { type Finding, failure, ok, warning } from '../finding.ts'

const DAY_MS = 24 * 60 * 60 * 1000
/** As a run warns: crates/tls/src/validity.rs. */
const EXPIRING_DAYS = 14

export function checkCredentials({ streams, now }: Facts): Finding[] {
  return streams.flatMap(({ role, plan, credentials }) =>
    credentials === undefined
      ? []
      : checkDirectory(`${role} ${formatStreamAddress(plan.address)}`, credentials, now),
  )
}

/** The findings of one directory. */
export function checkDirectory(
  about: string,
  { directory, problem, files, exposedKey }: CredentialsFacts,
  now: number,
): Finding[] {
  const findings = problem === undefined ? [] : [failure(about, problem)]
  for (const { file, notAfter, notAfterMs } of files) {
    const days = Math.floor((notAfterMs - now) / DAY_MS)
    if (days >= EXPIRING_DAYS) continue
    findings.push(
      warning(
        'TLS_EXPIRING',
        about,
        `${file} expires ${inDays(days)}, at ${notAfter}: peers refuse it then`,
        {
          note: 'renew it: tapferry sees new files by itself, and running connections stay',
        },
      ),
    )
  }
  if (exposedKey !== undefined) {
    findings.push(
      warning('TLS_KEY_EXPOSED', about, `every user of this host may read ${exposedKey}`, {
        fix: `chmod o-rwx ${quote(exposedKey)}`,
      }),
    )
  }
  return findings.length > 0 ? findings : [ok('TLS_READY', about, `the credentials in ${directory} are good`)]
}

function inDays(days: number): string {
  if (days < 1) return 'in less than a day'
  return days === 1 ? 'in a day' : `in ${days} days`
}
