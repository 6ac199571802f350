"""The papers' claims as values, how each is measured, and when it counts as shown."""

from keras_resnet.experiments.claim import BUDGETS as BUDGETS
from keras_resnet.experiments.claim import Budget as Budget
from keras_resnet.experiments.claim import Claim as Claim
from keras_resnet.experiments.claim import Contrast as Contrast
from keras_resnet.experiments.claim import Published as Published
from keras_resnet.experiments.claim import Training as Training
from keras_resnet.experiments.claims import CLAIMS as CLAIMS
from keras_resnet.experiments.verdicts import Finding as Finding
from keras_resnet.experiments.verdicts import Reproduction as Reproduction
from keras_resnet.experiments.verdicts import Verdict as Verdict
from keras_resnet.experiments.verdicts import judge as judge
