import test from 'ava';
import { parseReport, tidyText } from '../lib/text/sections.ts';

const full = `                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  History: ___F with shortness of breath  // eval pneumonia

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS: 

 The cardiac and mediastinal contours are normal. Lungs
 are clear.  No pleural effusion.

 IMPRESSION: 

 No acute cardiopulmonary abnormality.

 NOTIFICATION:  Dr. ___ was told by phone at 10:37 AM.
`;

const rule = '_'.repeat(78);

/** Title, report, and the sections it must give; those not named are ''. */
const reports: readonly (readonly [string, string, Partial<ReturnType<typeof parseReport>>])[] = [
  [
    'a report with all headers gives its three sections',
    full,
    {
      indication: 'History: ___F with shortness of breath // eval pneumonia',
      findings:
        'The cardiac and mediastinal contours are normal. Lungs are clear. No pleural effusion.',
      impression: 'No acute cardiopulmonary abnormality.',
    },
  ],
  ['Windows line ends change nothing', 'FINDINGS:\r\nClear.\r\n', { findings: 'Clear.' }],
  [
    'headers may be lower case',
    'history: fall\nfindings:\nClear.\nimpression: Normal.\n',
    { indication: 'fall', findings: 'Clear.', impression: 'Normal.' },
  ],
  [
    'headers may stand alone, without a colon',
    'FINDINGS\nClear.\n\nIMPRESSION\nNormal.',
    { findings: 'Clear.', impression: 'Normal.' },
  ],
  [
    'headers may be misspelt by a letter or two',
    'INDICTAION: fall\nFINDNGS: Clear.\nIMPRESSON: Normal.',
    { indication: 'fall', findings: 'Clear.', impression: 'Normal.' },
  ],
  [
    'headers may all stand on one line',
    'INDICATION: cough. FINDINGS: Lungs clear. IMPRESSION: Normal.',
    { indication: 'cough.', findings: 'Lungs clear.', impression: 'Normal.' },
  ],
  [
    'capitalized headers may follow a full stop',
    'Findings: Lungs clear. Impression: Normal.',
    { findings: 'Lungs clear.', impression: 'Normal.' },
  ],
  [
    'a colon within a sentence is no header',
    'FINDINGS: As follows:\n two nodules: one left, one right.\nThere is one problem: none.',
    {
      findings: 'As follows: two nodules: one left, one right. There is one problem: none.',
    },
  ],
  [
    'merged findings and impression are the impression',
    'FINDINGS AND IMPRESSION:  Clear lungs.',
    { impression: 'Clear lungs.' },
  ],
  [
    'merged with a slash, within a line, they are too',
    'COMPARISON: None. FINDINGS/IMPRESSION: Clear lungs.',
    { impression: 'Clear lungs.' },
  ],
  [
    'repeated sections are joined, and what is repeated word for word is not',
    'FINDINGS: Clear.\nIMPRESSION: A.\nFINDINGS: Tube.\nIMPRESSION: A.\nIMPRESSION: B.',
    { findings: 'Clear. Tube.', impression: 'A. B.' },
  ],
  [
    'an addendum above the report is read with its impression',
    ` FINAL ADDENDUM\n ADDENDUM: Rib fracture.\n ${rule}\n FINAL REPORT\n IMPRESSION: Clear.\n`,
    { impression: 'Clear. Rib fracture.' },
  ],
  [
    'an addendum below the report is, too',
    'FINDINGS: Clear.\nIMPRESSION: Normal.\nADDENDUM:\nTold Dr. ___.',
    { findings: 'Clear.', impression: 'Normal. Told Dr. ___.' },
  ],
  [
    'a wet read is void once there is a final report',
    ` WET READ: ___ ___ 8:02 PM\n  Effusion.\n ${rule}\n FINAL REPORT\n FINDINGS: Clear.\n`,
    { findings: 'Clear.' },
  ],
  ['a wet read counts where it is alone', 'WET READ:\n Effusion.', { findings: 'Effusion.' }],
  [
    'a header that names the views opens the findings',
    ' CHEST, TWO VIEWS:  \n\n PA AND LATERAL VIEWS OF THE CHEST:  Clear.\n',
    { findings: 'Clear.' },
  ],
  [
    'a title that names the views does not hide an unheaded reading below another header',
    ' FINAL REPORT\n CHEST, TWO VIEWS: \n\n HISTORY:  Cough.\n \n The lungs are clear.\n \n Heart normal.\n',
    { indication: 'Cough.', findings: 'The lungs are clear. Heart normal.' },
  ],
  [
    'organ headings stay in the findings',
    'FINDINGS:\nLUNGS: Clear.\nHEART: Normal.\nRECOMMENDATION(S): CT.',
    { findings: 'LUNGS: Clear. HEART: Normal.' },
  ],
  [
    'organ headings open the findings where no header does',
    'TECHNIQUE: AP.\nLUNGS: Clear.\nHEART: Normal.',
    { findings: 'LUNGS: Clear. HEART: Normal.' },
  ],
  [
    'without any header, the findings are what stands below the title',
    ' FINAL REPORT\n PORTABLE CHEST, ___\n\n Lungs clear.\n\n Heart normal.',
    { findings: 'Lungs clear. Heart normal.' },
  ],
  ['plain text is findings', 'Lungs clear.\n\nNormal.', { findings: 'Lungs clear. Normal.' }],
  [
    'the reading is looked for above a last section that has no second paragraph',
    ' COMPARISON: None.\n\n Lungs clear.\n\n NOTIFICATION: Dr. ___.',
    { findings: 'Lungs clear.' },
  ],
  [
    'empty sections are empty',
    'INDICATION: fall\nFINDINGS:\nIMPRESSION:\n',
    { indication: 'fall' },
  ],
  ['an empty text has no sections', '', {}],
];

for (const [title, text, sections] of reports) {
  test(title, (t) => {
    t.deepEqual(parseReport(text), { findings: '', impression: '', indication: '', ...sections });
  });
}

test('de-identification marks of every source become one', (t) => {
  t.is(
    tidyText('XXXX lung at\n_____, x-XXXX, Dr. [**Last Name (un) 12**] XX ___-year-old'),
    '___ lung at ___, x-___, Dr. ___ XX ___-year-old',
  );
});

test('long and hostile texts are split in linear time', (t) => {
  const hostile = ['FINDINGS', ' ', '\n', '_', 'A ', 'a: ', ' FINDINGS:', 'Impression. ', '[**'];
  for (const piece of hostile) {
    t.truthy(parseReport(`x${piece.repeat(200_000 / piece.length)}x`), piece);
  }
});

test('the sections of any text hold words of the text and no others', (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  t.log(`seed ${seed}`);
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return Math.floor((state / 0x8000_0000) * below);
  };
  const pieces = [
    'FINDINGS:',
    'Impression :',
    'WET READ:',
    'ADDENDUM',
    'LUNGS:',
    'clear.',
    '肺',
    '🫁',
  ];
  pieces.push(
    '\n',
    '\n\n',
    '\r\n',
    '\t',
    '___',
    'XXXX',
    '\ud800',
    ':',
    '1.',
    '_'.repeat(12),
    'a/b',
  );
  for (let round = 0; round < 500; round++) {
    const text = Array.from({ length: random(30) }, () => pieces[random(pieces.length)]).join(' ');
    const given = new Set(tidyText(text).split(' '));
    const { findings, impression, indication } = parseReport(text);
    for (const section of [findings, impression, indication]) {
      const words = section.split(' ').filter((word) => word !== '');
      t.true(
        words.every((word) => given.has(word)),
        JSON.stringify({ text, section }),
      );
      t.is(section, section.trim());
    }
  }
});
