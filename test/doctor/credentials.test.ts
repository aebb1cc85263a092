/** Faults of the credentials for TLS: of no use, about to expire, open to every user. */

import { chmod, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { makeCredentials } from '../support/credentials.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { labTest } from '../support/lab.ts'
import { doctor, finds, findsAndMends, found, problems } from './support.ts'

async function credentials(t: ExecutionContext): Promise<string> {
  const place = temporaryDirectory(t)
  const directory = await makeCredentials(join(place, "it's"))
  await chmod(join(directory, 'server-key.pem'), 0o600)
  return directory
}

const listening = (directory: string) => ['--indev=tcp::4000,server', `--tls-creds=${directory}`]

labTest('credentials that are good are said to be, and --insecure is not asked for', async (t, lab) => {
  const directory = await credentials(t)
  const diagnosis = await doctor(t, lab, { args: [...listening(directory), '-v'] })
  t.is(diagnosis.status, 0)
  t.deepEqual(problems(diagnosis), [])
  const about = 'indev tcp::4000'
  t.like(found(diagnosis, 'TLS_READY')[0], { about, message: `the credentials in ${directory} are good` })
})

labTest('a key that is missing makes credentials of no use to a server', async (t, lab) => {
  const directory = await credentials(t)
  await finds(t, lab, {
    ...{ code: 'TLS_CREDENTIALS_MISSING', severity: 'error', status: 2, message: /server-key\.pem/ },
    faulty: { args: listening(directory) },
    seed: () => rm(join(directory, 'server-key.pem')),
  })
})

labTest('a certificate that has expired is of no use', async (t, lab) => {
  const directory = await credentials(t)
  await finds(t, lab, {
    ...{ code: 'TLS_CREDENTIALS_EXPIRED', severity: 'error', status: 2, message: /has expired, at 20/ },
    faulty: { args: listening(directory) },
    seed: () => makeCredentials(directory, { of: directory, until: -60 }),
  })
})

labTest('a certificate of a few days is told of before it is too late', async (t, lab) => {
  const directory = await credentials(t)
  const finding = await finds(t, lab, {
    ...{ code: 'TLS_EXPIRING', severity: 'warning', status: 0 },
    message: /server-cert\.pem expires in 2 days, at 20/,
    faulty: { args: listening(directory) },
    seed: () => makeCredentials(directory, { of: directory, until: 2 * 86_400 + 3600 }),
  })
  t.regex(finding.note ?? '', /^renew it/)
})

labTest('a key that every user may read is closed', async (t, lab) => {
  const directory = await credentials(t)
  const key = join(directory, 'server-key.pem')
  await findsAndMends(t, lab, {
    ...{ code: 'TLS_KEY_EXPOSED', severity: 'warning', status: 0, message: /every user of this host/ },
    faulty: { args: listening(directory) },
    seed: () => chmod(key, 0o644),
  })
})
