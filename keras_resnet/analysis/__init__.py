"""What a network costs, what it does and how it behaves.

Functions take any functional model, on any backend, and leave it as it is; they return
plain arrays, or small values that plot themselves where matplotlib is installed.
"""

from keras_resnet.analysis.attention import grad_cam as grad_cam
from keras_resnet.analysis.cost import Cost as Cost
from keras_resnet.analysis.cost import CostComparison as CostComparison
from keras_resnet.analysis.cost import LayerCost as LayerCost
from keras_resnet.analysis.cost import compare_costs as compare_costs
from keras_resnet.analysis.cost import cost as cost
from keras_resnet.analysis.features import first_filters as first_filters
from keras_resnet.analysis.features import visualize as visualize
from keras_resnet.analysis.gates import GateStatistics as GateStatistics
from keras_resnet.analysis.gates import gate_statistics as gate_statistics
from keras_resnet.analysis.gradients import gradients as gradients
from keras_resnet.analysis.gradients import outputs_of as outputs_of
from keras_resnet.analysis.jacobian import jacobian as jacobian
from keras_resnet.analysis.jacobian import plot_spectrum as plot_spectrum
from keras_resnet.analysis.jacobian import singular_values as singular_values
from keras_resnet.analysis.lesions import Lesions as Lesions
from keras_resnet.analysis.lesions import drop_each as drop_each
from keras_resnet.analysis.lesions import drop_random as drop_random
from keras_resnet.analysis.lesions import kendall_tau as kendall_tau
from keras_resnet.analysis.lesions import permute_random as permute_random
from keras_resnet.analysis.loss_surface import LossSurface as LossSurface
from keras_resnet.analysis.loss_surface import hessian_extremes as hessian_extremes
from keras_resnet.analysis.loss_surface import loss_surface as loss_surface
from keras_resnet.analysis.norms import LayerNorms as LayerNorms
from keras_resnet.analysis.norms import layer_norms as layer_norms
from keras_resnet.analysis.paths import PathGradients as PathGradients
from keras_resnet.analysis.paths import path_gradients as path_gradients
from keras_resnet.analysis.plotting import plot_images as plot_images
from keras_resnet.analysis.receptive_field import ReceptiveField as ReceptiveField
from keras_resnet.analysis.receptive_field import (
    effective_receptive_field as effective_receptive_field,
)
from keras_resnet.analysis.receptive_field import receptive_field as receptive_field
from keras_resnet.analysis.responses import Responses as Responses
from keras_resnet.analysis.responses import responses as responses
from keras_resnet.analysis.similarity import cka as cka
from keras_resnet.analysis.similarity import (
    gradient_correlations as gradient_correlations,
)
from keras_resnet.analysis.similarity import linear_cka as linear_cka
from keras_resnet.analysis.similarity import plot_cka as plot_cka
from keras_resnet.analysis.similarity import plot_correlations as plot_correlations
